"""Question-answer pairs as a better checkpoint: what `spare finetune` and `spare merge` do.

recipes      every number of a training, as data
pairs        the data set, and where its pictures are
survey       every picture opened once, every text looked at, before the first step
plan         which pairs come in which step, in batches that fit
sequences    pairs as tokens, with the answers' marked
branches     many pairs about one picture in one sequence, none of which sees another
network      what is trained of a checkpoint
checkpoints  states to go on from
training     TRL's trainer with all of this in it
faults       sentences for what may befall a training
evaluations  what is evaluated meanwhile, and which weights were best
watching     the callback that does
folders      a folder belongs to one training
outputs      the finished checkpoint, where it comes from, its card
checks       what can be known before anything slow is done
job          all of it in order, for one seed
tuning       for all seeds
merging      an adapter as a checkpoint
cycle        evaluate, train, evaluate again, compare
"""
