"""REST: sign-in, permissions and audited views."""
