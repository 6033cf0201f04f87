"""The laws by real training at small scale: corpus, target, drafts, accepted tokens measured exactly."""
