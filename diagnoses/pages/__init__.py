"""What people see: worklist, patients, studies, images, uploads, models."""
