"""Recording landscapes on a live server: `regulus bench record`."""
