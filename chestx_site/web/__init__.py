"""What the web server process adds to every request.

Middleware, health, paging, errors, admin site.
"""
