# Generalised ufuncs: functions of rows.
