"""Before and after: two states of one image in turn, and the change since an earlier result.

- `flip`: `Flip`, which shows one of two masks at a time and then restores what was shown.
- `flip_panel`: its fields in Review.
- `change_panel`: the comparison with an earlier result in Review.
"""
