"""The verbs. The only rooms where book and bell meet; rules and permission live here."""
