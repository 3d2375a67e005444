"""A web service that holds thousands of live streams on one model: see README.markdown beside this file."""
