"""Models on this machine: where they come from, how they get here whole, where they are kept."""
