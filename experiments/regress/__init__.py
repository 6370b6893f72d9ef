"""The gate for changes of schedulers: exact golden stories, and paired differences over seeds against margins."""
