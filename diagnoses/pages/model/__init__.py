"""The pages that show models, their cards and their history."""
