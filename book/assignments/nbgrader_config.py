# The configuration of an nbgrader course with the book's assignments.
c = get_config()
c.CourseDirectory.course_id = "learning-rates"
# An answer that never ends is interrupted and costs its own points only.
c.ExecutePreprocessor.timeout = 60
c.ExecutePreprocessor.interrupt_on_timeout = True
