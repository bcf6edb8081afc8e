"""Small restoration networks, the toolbox they form, and how they are trained."""
