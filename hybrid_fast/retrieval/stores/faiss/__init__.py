"""The store in a folder: mapped vectors, exact search, and indices of FAISS."""
