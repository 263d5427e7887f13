"""`lalafo bench duplicates --live`: how soon duplicates are found while ads come."""
