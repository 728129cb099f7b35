"""A list of cases that readers work through: what is known of each, who holds it, and what was decided.

`sources` finds the cases of a folder, a list, a batch or a data set with masks; `results` what is known of
their results; `listed_case` is a row, and in which order rows are shown; `case_list` holds cases and writes
decisions; `decisions` is a line of the journal, `history` what follows from the lines; `readings` keeps the
mask of each reader.
"""
