"""Closed classes of words, as far as reading where things are needs them."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """A class of words, written in a row."""
    return frozenset(text.split())


DETERMINERS = word_set(
    "a an the this that these those his her its their my our your one two three four five six "
    "seven eight nine ten several some many another each every both few various multiple"
)
OWNERS = word_set("his her its their")
ARTICLES = word_set("the these those his her its their my our your")
NUMBERS = word_set("one two three four five six seven eight nine ten several few other")
BE = word_set("is are was were 's there's")
POSITION_VERBS = word_set(
    "sits sit sitting stands stand standing stood lies lie lying lay laying rests rest "
    "resting rested hangs hang hanging hung located positioned placed situated parked mounted "
    "seated leaning leans float floats floating perched arranged stacked set visible seen"
)
ADVERBS = word_set(
    "directly just slightly immediately partially also still mostly almost closely straight "
    "right neatly partly somewhat far well together horizontally vertically diagonally nicely "
    "quite halfway roughly upright"
)
RELATIVES = word_set("that which who")
PREPOSITIONS = word_set(
    "of in on at to from by with without under over above below behind beside between among "
    "through into onto near next across along around against beneath underneath inside "
    "outside within toward towards past off up down for about during like except beyond upon "
    "atop amid via as than"
)
PERSONS = word_set("i we you it he she they there")
CONJUNCTIONS = word_set(
    "and or but while where when because so then if although though nor yet whose"
)
PRONOUNS = word_set(
    "it they them he she him we us you i me itself themselves one others other another each "
    "something someone everything all this that these those here there what which who whose "
    "where both rest"
)
VERBS = word_set(
    "be been being am has have had having do does did doing can could will would may might "
    "must should shall wearing wears wear holding holds hold facing faces looking looks look "
    "showing shows show riding rides walking walks running runs playing plays eating eats "
    "drinking reading using made covered filled surrounded attached connected painted written "
    "printed featuring features containing contains consisting consists including includes "
    "carrying carries pointing points reaching reaches extending extends leading leads "
    "appears appear seems seem shown displayed depicts depicting see sees watching watches "
    "leans bends growing grows flying flies touching touches casting casts surrounding "
    "separating dividing topped lined decorated dressed called named labeled labelled "
    "stretching stretches taking takes making makes giving gives cut crossing crosses moving "
    "tied hidden moves starts ends begins meets comes come goes go going turned tilted angled "
    "partially"
)
BOUNDARIES = frozenset().union(
    *(PREPOSITIONS, CONJUNCTIONS, PERSONS, BE, POSITION_VERBS, RELATIVES, VERBS, DETERMINERS)
)
"""Words that are in no noun phrase, but for the determiners that open one."""
HOLDING = word_set(
    "wearing wears holding holds carrying carries riding rides using pushing pulling having has"
)
"""Behind one of these a phrase is no subject: of "a woman holding a bag is standing", it is not the
bag that stands."""
VAGUE = word_set(
    "side sides part parts area background foreground image photo picture photograph scene "
    "frame view left right top bottom front back middle center centre corner edge distance "
    "end ground-level way corners edges portion half camera viewer shot something lot bit "
    "kind type"
)
"""Heads of phrases that name no thing that a question could ask about."""

IMAGE = word_set("image photo picture photograph frame scene shot")

COLLECTIVES = word_set(
    "pair row group piece bunch set stack pile line couple cup glass bowl plate bottle vase "
    "number cluster bouquet box bag basket slice patch strip body series rows pairs groups "
    "pieces stacks slices bottles bowls cups glasses bags boxes"
)
"""Nouns behind which "of" goes on with the same thing ("a row of trees")."""

ADJECTIVE_HEADS = word_set(
    "white black red blue green yellow brown grey gray pink purple orange silver golden beige "
    "tan dark light large small big little long short tall wide narrow old young new wooden "
    "bright empty other same different very more less most many first second last next "
    "several few open closed blurry"
)
NO_HEADS = PRONOUNS | ADJECTIVE_HEADS | ADVERBS
NOUNS_IN_ING = word_set(
    "building painting railing ceiling clothing string ring king wing awning thing sibling "
    "covering crossing drawing lightning morning evening opening earring wedding landing "
    "lining siding spring stocking duckling sling swing pudding icing dressing parking "
    "flooring lighting carving awnings buildings paintings railings wings rings earrings "
    "drawings carvings openings"
)
