"""From files to batches: sources, the table of samples, splits, audit, cache, pipeline, augmentation."""
