"""Two results of one patient: how much each class has changed, and how surely.

- `size_change`: `SizeChange`, the change of one class with its interval.
- `date_change`: `DateChange`, all classes of two results, and what is to be known about them.
- `placement`: how the second mask comes to lie on the image of the first date.
- `registration`: the rigid registration of the two images, by SimpleITK.
"""
