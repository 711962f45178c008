cc -std=c11 $(pkg-config --cflags kexue) ../program.c $(pkg-config --libs kexue) -o consumer
