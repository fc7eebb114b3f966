"""What the web server adds: middleware, health, paging, errors, admin site."""
