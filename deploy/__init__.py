"""Deploy: what runs beside Regulus. Configuration files, and the programs that write those that are generated."""
