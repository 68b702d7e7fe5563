"""What runs inside the rehearsal's guest: an independent reading of what Windows does.

Nothing here knows the pipeline; Python's standard library is all there is. The folder becomes the
package ``standin`` of the guest's own Python.
"""
