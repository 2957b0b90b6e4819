/* spare: descriptors that this process keeps, so that there is room for those that must come in, whatever else it has open: its neighbours'
 * channels, which the master sends. One is given up before each read, and is taken again when nothing came, or as soon as there is room. */
#ifndef POSTINO_SPARE_H
#define POSTINO_SPARE_H

#define SPARE_MOST 8

void spare_want(void); /* from now on some are kept */
void spare_keep(void); /* as many as there is room for; errno stays as it is */
void spare_give(void); /* there is room for one more, if any was kept */

#endif
