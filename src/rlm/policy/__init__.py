"""Messages to and from the model: what it is told, how its reply is read, how a cell is shown."""
