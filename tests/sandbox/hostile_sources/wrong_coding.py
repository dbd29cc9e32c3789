# expect: compile_error
# -*- coding: nonsense -*-
