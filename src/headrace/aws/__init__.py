"""A deployment on AWS: what is started, what it costs, and what ends it. Terraform makes it."""
