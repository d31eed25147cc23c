"""What was used, told over HTTP: questions, and pages of buckets as OpenAI's usage API has them."""
