"""A sweep: many jobs, their places, their record, what they found."""
