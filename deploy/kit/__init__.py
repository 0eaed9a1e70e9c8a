"""What makes and checks the files of deploy/: Helm, schemas, generated pages. It does not ship."""
