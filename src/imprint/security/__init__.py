"""The door for skills: scans, trust, vetting."""
