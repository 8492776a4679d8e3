"""Exact counts and budgets for other libraries, a module for each.

Each module turns the library's objects into those of OpenAI, counts or fits them, and gives the library's
objects back. Libraries are imported when a function needs them; none is needed to import these modules. What
they take as it is (a function of a text, say) is not wrapped: `nemo_fast.count` and `nemo_fast.encode` serve.
"""
