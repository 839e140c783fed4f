"""A closed-loop simulator with known truth: people, publishers and a ranker that react to each other."""
