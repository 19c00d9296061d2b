"""PipelineRuns and their task runs."""
