"""What people see: worklist, patients, studies, films, uploads, models."""
