"""Patch more pairs than one sitting or one process allows: folders that resume, and Ray."""
