"""What people read: terminal tables, report page, model card."""
