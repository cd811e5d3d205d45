"""Search engines over passages: the worlds that ask them know only `Retriever`."""
