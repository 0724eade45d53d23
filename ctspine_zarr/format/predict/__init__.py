"""The chunk codec `predict`, as `docs/codec.md` specifies it, in numpy: the reference, and the fallback."""
