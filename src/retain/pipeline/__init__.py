"""From a recipe to a graph of steps, to what it will cost, to the results of its finished steps."""
