"""From hyper-detailed captions to filtered spatial question-answer pairs (SpaRE, arXiv 2504.20648).

    captions  ->  prefilter  ->  generate  ->  duplicates, reference, support, clipscore, spatial
              ->  tags, contamination  ->  cut  ->  a data set

`sources` read what was published, `shards` keep every stage's output on disk, `pipeline` runs the
stages. A stage is one file: a function from a table to a table with as many rows. Nothing is ever
deleted: each filter writes its raw score, and `cut` decides from all of them what is dropped and
why, so that a threshold can be moved without asking a model again.
"""
