//! Properties of the translation that hold for every input, and its edges.
