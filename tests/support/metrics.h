/* A parser of Prometheus' text exposition format, for tests. */
#ifndef TINE_TESTS_SUPPORT_METRICS_H
#define TINE_TESTS_SUPPORT_METRICS_H

/* Fails the test where a line is none of the format, a name has no HELP and TYPE before it, or its
 * samples do not stand together. */
void metrics_check(const char *text);
/* The value of the sample with exactly this name and labels; NAN: there is none. */
double metrics_value(const char *text, const char *sample);

#endif
