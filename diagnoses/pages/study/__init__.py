"""The study page: images, results, earlier studies."""
