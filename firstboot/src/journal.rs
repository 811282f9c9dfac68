//! What the agent remembers over power cuts.
