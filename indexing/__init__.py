"""Building Protected Indexes: pictures or latents in, an index on disk out; on one machine or on many."""
