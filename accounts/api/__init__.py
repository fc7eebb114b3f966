"""What all REST views share: sign-in, permissions, audit events."""
