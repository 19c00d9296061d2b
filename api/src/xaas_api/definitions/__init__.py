"""PipelineTasks and Pipelines: what users write."""
