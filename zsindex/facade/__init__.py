"""`zsindex.library.Library` by subject: each module holds the methods of one, as a class that `Library` inherits."""
