# The configuration of an nbgrader course with the book's assignments.
c = get_config()
c.CourseDirectory.course_id = "learning-rates"
# An answer that never ends is interrupted and costs its own points only.
c.ExecutePreprocessor.timeout = 60
c.ExecutePreprocessor.interrupt_on_timeout = True
# A busy machine may need more than the usual 4 seconds for all that a cell has
# put out, for example for the many lines of a progress bar.
c.ExecutePreprocessor.iopub_timeout = 60
# nbgrader gives no marks to a test that writes to stderr, even if it passes. A
# warning or a progress bar in a right answer should cost nothing, so all that
# is written there is ignored.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"
