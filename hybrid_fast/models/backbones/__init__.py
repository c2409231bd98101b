"""What embeds tokenised texts: a static table, or a transformer and its pooling."""
